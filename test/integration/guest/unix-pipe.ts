// stdin and stdout joined to a unix socket: a ProxyCommand for OpenSSH. Usage: node unix-pipe.ts SOCKET

import { createConnection } from "node:net";
import { argv, stdin, stdout } from "node:process";

const socket = createConnection(argv[2] ?? "");
stdin.pipe(socket).pipe(stdout);
socket.on("error", () => process.exit(1));
