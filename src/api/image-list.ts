import type { Unary } from "../cri/handler.ts";
import type { Engine } from "../engine/engine.ts";
import type { ListImagesRequest, ListImagesResponse } from "../gen/vmlet.ts";
import { imageOf } from "./convert.ts";

export const listImages =
  ({ images }: Engine): Unary<ListImagesRequest, ListImagesResponse> =>
  () => ({ images: images.list().map(imageOf) });
