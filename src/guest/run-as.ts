// The script on the seed that runs a command as the user and groups of the pod's security context. They are the guest's: its
// own /etc/passwd and /etc/group are asked.

import type { RunAs } from "../model/machine.ts";
import { shellQuote } from "./shell.ts";

/** Needs setpriv of util-linux or chroot of coreutils: busybox has nothing that sets all of a process's groups. */
export function runAsScript({ user, gid, groups }: RunAs): string {
  return [
    "#!/bin/sh",
    "# Runs its arguments as the user and the groups that this machine's pod names.",
    `user=${shellQuote(user)} gid=${gid ?? ""} groups=${shellQuote(groups.join(","))}`,
    RUN_AS_BODY,
  ].join("\n");
}

const RUN_AS_BODY = `uid= name= own= folder=/
case $user in *[!0-9]*) ;; *) uid=$user ;; esac
while IFS=: read -r each _ id primary _ home _; do
  if [ "$each" = "$user" ] || [ "$id" = "$user" ]; then
    uid=$id name=$each own=$primary folder=$home
    break
  fi
done </etc/passwd
[ -n "$uid" ] || { echo "vmlet: this guest has no user $user" >&2; exit 126; }
gid=\${gid:-\${own:-0}}
groups=$gid\${groups:+,$groups}
if [ -n "$name" ]; then
  while IFS=: read -r _ _ id members; do
    case ",$members," in *",$name,"*) groups=$groups,$id ;; esac
  done </etc/group
fi
export HOME="$folder"
for tool in /usr/bin/setpriv /bin/setpriv; do # by path: a sh of busybox prefers its own
  if "$tool" --reuid "$uid" --regid "$gid" --groups "$groups" true 2>/dev/null; then
    exec "$tool" --reuid "$uid" --regid "$gid" --groups "$groups" "$@"
  fi
done
for tool in /usr/sbin/chroot /usr/bin/chroot; do
  if "$tool" --userspec="$uid:$gid" --groups="$groups" --skip-chdir / true 2>/dev/null; then
    exec "$tool" --userspec="$uid:$gid" --groups="$groups" --skip-chdir / "$@"
  fi
done
echo "vmlet: to run as $user this guest needs setpriv of util-linux or chroot of coreutils" >&2
exit 126
`;
