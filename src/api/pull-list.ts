import type { Unary } from "../cri/handler.ts";
import type { Engine } from "../engine/engine.ts";
import type { ListPullsRequest, ListPullsResponse } from "../gen/vmlet.ts";
import { progressOf } from "./convert.ts";

export const listPulls =
  ({ images }: Engine): Unary<ListPullsRequest, ListPullsResponse> =>
  () => ({ pulls: images.pulls().map(progressOf) });
