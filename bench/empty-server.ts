// A gRPC server that does nothing but answer: for each method of a file the same bytes each time. It shows what a call
// costs before any of our code runs. node empty-server.ts <socket> <file: {"/service/Method": base64}>

import { readFile } from "node:fs/promises";
import { type MethodDefinition, Server, ServerCredentials, type UntypedServiceImplementation } from "@grpc/grpc-js";

const [socketPath = "", answersPath = ""] = process.argv.slice(2);
const answers = JSON.parse(await readFile(answersPath, "utf8")) as Record<string, string>;
const service: Record<string, MethodDefinition<Buffer, Buffer>> = {};
const handlers: UntypedServiceImplementation = {};
for (const [path, base64] of Object.entries(answers)) {
  const bytes = Buffer.from(base64, "base64");
  const same = (value: Buffer): Buffer => value;
  service[path] = {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  handlers[path] = (_call: unknown, callback: (error: null, value: Buffer) => void) => callback(null, bytes);
}
const server = new Server();
server.addService(service, handlers);
server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
