import type { Engine } from "../engine/engine.ts";
import type { PullImageRequest, PullImageResponse } from "../gen/runtime.ts";
import { credentialsOf } from "./convert-image.ts";
import { required } from "./convert-shared.ts";
import type { Unary } from "./handler.ts";

/** The answer is Image.id: the kubelet's pull records are keyed by it. */
export const pullImage =
  ({ images }: Engine): Unary<PullImageRequest, PullImageResponse> =>
  async ({ image, auth }, signal) => {
    const reference = required(image?.image, "image.image");
    const { digest } = await images.pull(reference, signal, credentialsOf(auth), { name: "cri" });
    return { imageRef: digest };
  };
