import type { Engine } from "../engine/engine.ts";
import type { ImageFsInfoRequest, ImageFsInfoResponse } from "../gen/runtime.ts";
import { criFilesystemUsageOf } from "./convert-image.ts";
import type { Unary } from "./handler.ts";

export const imageFsInfo =
  (engine: Engine): Unary<ImageFsInfoRequest, ImageFsInfoResponse> =>
  async () => {
    const machines = await engine.diskUsage();
    return {
      imageFilesystems: [criFilesystemUsageOf(await engine.images.usage(), engine.clock.nowMs())],
      containerFilesystems: [criFilesystemUsageOf(machines, machines.atMs)],
    };
  };
