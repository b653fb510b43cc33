import { required } from "../cri/convert-shared.ts";
import type { Streamed } from "../cri/handler.ts";
import type { Engine } from "../engine/engine.ts";
import type { PullResponse, WatchPullRequest } from "../gen/vmlet.ts";
import { follow } from "./follow.ts";

export const watchPull =
  ({ images }: Engine): Streamed<WatchPullRequest, PullResponse> =>
  ({ pullId }, signal) => {
    const end = images.untilPulled(required(pullId, "pull_id"), signal);
    return follow(images, () => pullId, end, signal);
  };
