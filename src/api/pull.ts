import { required } from "../cri/convert-shared.ts";
import type { Streamed } from "../cri/handler.ts";
import type { Engine } from "../engine/engine.ts";
import type { Credentials, PullRequest, PullResponse } from "../gen/vmlet.ts";
import type { RegistryCredentials } from "../model/registry-credentials.ts";
import { follow } from "./follow.ts";

export const pull =
  ({ images }: Engine): Streamed<PullRequest, PullResponse> =>
  ({ image, credentials }, signal) => {
    let pullId: string | undefined;
    const onJoined = (joined: string): void => {
      pullId = joined;
    };
    const end = images.pull(required(image, "image"), signal, given(credentials), { name: "vmlet", onJoined });
    return follow(images, () => pullId, end, signal);
  };

/** Both empty: nobody in particular. */
function given(credentials: Credentials | undefined): RegistryCredentials | undefined {
  return credentials?.username || credentials?.password ? credentials : undefined;
}
