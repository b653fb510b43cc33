// vmlet.v1 beside CRI: the table of its RPCs. Each is a file here.

import type { HandlerOptions } from "../cri/handler.ts";
import { streamed, unary } from "../cri/handler.ts";
import type { Engine } from "../engine/engine.ts";
import type { VmletServer } from "../gen/vmlet.ts";
import { listImages } from "./image-list.ts";
import { listMachines } from "./machine-list.ts";
import { pull } from "./pull.ts";
import { listPulls } from "./pull-list.ts";
import { watchPull } from "./pull-watch.ts";

export function vmletService(engine: Engine, options: Pick<HandlerOptions, "log" | "observer">): VmletServer {
  const read = (rpc: string): HandlerOptions => ({ ...options, rpc: `vmlet.v1.${rpc}`, isRead: true });
  return {
    listImages: unary(listImages(engine), read("ListImages")),
    pull: streamed(pull(engine), { ...options, rpc: "vmlet.v1.Pull", isRead: false }),
    listPulls: unary(listPulls(engine), read("ListPulls")),
    watchPull: streamed(watchPull(engine), read("WatchPull")),
    listMachines: unary(listMachines(engine), read("ListMachines")),
  };
}
