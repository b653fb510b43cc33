// How a command is run in a guest, whichever way we got in: with the container's environment, in its folder.

import { invalid } from "../../model/failure.ts";
import { shellQuote, withoutNul } from "../shell.ts";

/** The kernel takes no single string above 128 KiB, and as one the line comes to the guest. */
const MAX_LINE_BYTES = 120 << 10;

/** A script of sh with its arguments, as one line of a shell. @throws SPEC_INVALID for what no guest can be asked to run */
export function commandLine(script: string, args: readonly string[]): string {
  const words = args.map((word) => shellQuote(withoutNul("cmd", word)));
  const line = ["exec /bin/sh -c", shellQuote(script), "sh", ...words].join(" ");
  if (Buffer.byteLength(line) <= MAX_LINE_BYTES) return line;
  throw invalid("cmd", `is longer than the ${MAX_LINE_BYTES} bytes that a guest's ssh takes; put it in a file`);
}

/** From the command's start on. */
export function limited(signal: AbortSignal, limitMs: number | undefined): AbortSignal {
  return limitMs === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
}

/** For sh. A user who is not root has a copy of the environment that he may read. */
export const LOAD_ENVIRONMENT = `for each in /etc/vmlet/ssh/environment /etc/vmlet/environment; do
  if [ -r "$each" ]; then set -a; . "$each"; set +a; break; fi
done`;

/** For sh, with the folder and the command as arguments. As in a shell: 127 for what is not there, 126 for what cannot be run. */
export const ENTER_AND_EXEC = `cd "$1" || exit 126
shift
exec "$@"`;

/** For sh, with a session's id as argument: kills its processes, whatever groups they made. (`kill -KILL --` is not for every sh.) */
export const KILL_SESSION = `sid=$1
kill -KILL "-$sid"
for each in /proc/[0-9]*; do
  stat=
  read -r stat <"$each/stat"
  set -- \${stat##*) }
  if [ "\${4-}" = "$sid" ]; then kill -KILL "\${each#/proc/}"; fi
done 2>/dev/null`;
