import type { Engine } from "../engine/engine.ts";
import type { ImageStatusRequest, ImageStatusResponse } from "../gen/runtime.ts";
import { criImageOf } from "./convert-image.ts";
import { required } from "./convert-shared.ts";
import type { Unary } from "./handler.ts";

/** An image that is not there is no error. */
export const imageStatus =
  ({ images }: Engine): Unary<ImageStatusRequest, ImageStatusResponse> =>
  ({ image, verbose }) => {
    const found = images.find(required(image?.image, "image.image"));
    if (!found) return { image: undefined, info: {} };
    const { format, virtualSizeBytes } = found;
    return { image: criImageOf(found), info: verbose ? { info: JSON.stringify({ format, virtualSizeBytes }) } : {} };
  };
