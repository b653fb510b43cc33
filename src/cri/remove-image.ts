import type { Engine } from "../engine/engine.ts";
import type { RemoveImageRequest, RemoveImageResponse } from "../gen/runtime.ts";
import { required } from "./convert-shared.ts";
import type { Unary } from "./handler.ts";

/** Unknown: OK, as the interface demands. In use: its names go now, its bytes with the last machine. */
export const removeImage =
  ({ images }: Engine): Unary<RemoveImageRequest, RemoveImageResponse> =>
  async ({ image }, signal) => {
    await images.remove(required(image?.image, "image.image"), signal);
    return {};
  };
