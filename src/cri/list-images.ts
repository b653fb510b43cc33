import type { Engine } from "../engine/engine.ts";
import type {
  Image as CriImage,
  ImageFilter,
  ListImagesRequest,
  ListImagesResponse,
  StreamImagesRequest,
  StreamImagesResponse,
} from "../gen/runtime.ts";
import { criImageOf } from "./convert-image.ts";
import { inPieces } from "./convert-shared.ts";
import type { Streamed, Unary } from "./handler.ts";

export const listImages =
  (engine: Engine): Unary<ListImagesRequest, ListImagesResponse> =>
  ({ filter }) => ({ images: list(engine, filter) });

export const streamImages = (engine: Engine): Streamed<StreamImagesRequest, StreamImagesResponse> =>
  function* ({ filter }) {
    for (const images of inPieces(list(engine, filter))) yield { images };
  };

function list({ images }: Engine, filter: ImageFilter | undefined): CriImage[] {
  const wanted = filter?.image?.image;
  if (!wanted) return images.list().map(criImageOf);
  const found = images.find(wanted);
  return found ? [criImageOf(found)] : [];
}
