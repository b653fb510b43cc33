// What the guest's agent is asked to run: POSIX sh, and tools that busybox has (setsid, mkfifo, head, wc; su for a user).

import { shellQuote } from "../shell.ts";
import { ENTER_AND_EXEC, KILL_SESSION, LOAD_ENVIRONMENT } from "./command.ts";

/** Output below this comes back with the exit status; more is left in files. */
export const INLINE_BYTES = 64 << 10;

/** The environment could replace any variable, but no argument. */
const RUN_AS_ROOT = `${LOAD_ENVIRONMENT}\nshift\n${ENTER_AND_EXEC}`;
const RUN_AS_USER = `${LOAD_ENVIRONMENT}
user=$1
shift
exec su -s /bin/sh -c ${shellQuote(ENTER_AND_EXEC)} -- "$user" sh "$@"`;

/**
 * Arguments: a folder that is not there yet, bytes kept of each output, user, working folder, command. What the command
 * printed is in `out` and `err` of the folder, which is removed if both came back whole.
 */
export const AGENT_RUN_SCRIPT = `exec 3>&2 2>/dev/null
at=$1 cap=$2
shift 2
umask 077
mkdir -p "\${at%/*}" && mkdir "$at" && mkfifo "$at/o" "$at/e" && : >"$at/out" && : >"$at/err" || exit 125
# keep FILE: writes as it reads, drops what is beyond the cap. (A file's limit is in blocks of 512 bytes, says POSIX.)
keep() {
  (ulimit -f $((cap / 512)); trap '' XFSZ; exec cat >"$1")
  exec cat
}
keep "$at/out" <"$at/o" >/dev/null 3>&- &
o=$!
keep "$at/err" <"$at/e" >/dev/null 3>&- &
e=$!
export HOME="\${HOME:-/root}" PATH="\${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
run=${shellQuote(RUN_AS_USER)}
if [ "$1" = root ]; then run=${shellQuote(RUN_AS_ROOT)}; fi
# A session of its own, so that all of it can be killed at once.
(umask 022; exec setsid sh -c "$run" sh "$@") </dev/null >"$at/o" 2>"$at/e" 3>&- &
pid=$!
echo "$pid" >"$at/pid.new" && mv "$at/pid.new" "$at/pid"
wait "$pid"
status=$?
# What it left behind in the background may hold the outputs open for ever.
{ sleep 2; kill "$o" "$e"; } </dev/null >/dev/null 3>&- &
timer=$!
wait "$o" "$e"
kill "$timer"
head -c ${INLINE_BYTES} "$at/out"
head -c ${INLINE_BYTES} "$at/err" >&3
if [ $(wc -c <"$at/out") -lt ${INLINE_BYTES} ] && [ $(wc -c <"$at/err") -lt ${INLINE_BYTES} ]; then rm -rf "$at"; fi
exit "$status"`;

/** Argument: the folder of a command. Kills it with all its processes, and removes the folder. */
export const AGENT_KILL_SCRIPT = `at=$1 tries=0
while [ ! -s "$at/pid" ] && [ $tries -lt 20 ]; do sleep 0.1; tries=$((tries + 1)); done
if read -r sid <"$at/pid"; then set -- "$sid"; ${KILL_SESSION}; fi
rm -rf "$at"`;
