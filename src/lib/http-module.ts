// node:http without what comes with it: as an import, each name it exports is read, and one of them loads an HTTP client
// (undici), which is 14 MiB of memory for nothing.

export const { createServer } = process.getBuiltinModule("node:http");
