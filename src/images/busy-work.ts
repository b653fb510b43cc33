// Notices answers that only keep us busy: bodies in crumbs, and announcements of an answer that never comes.

import type { Dispatcher } from "undici";
import { refused } from "./http-errors.ts";

/** Each piece costs the same, however small, and meanwhile every caller of the daemon waits. */
const LEAST_MEAN_BYTES = 128;
/** From so many on a mean means something: small files, and the end of large ones, come in small pieces, too. */
const PIECES = 4096;
/** Answers of status 1xx. Each of them makes the wait for the answer begin anew. */
const MAX_ANNOUNCEMENTS = 10;

/** To be composed with whoever sends the request for `url`. A body that is refused fails with IMAGE_SOURCE_REFUSED. */
export function refusingBusyWork(url: URL): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    let announcements = 0;
    let pieces = 0;
    let bytes = 0;
    return dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade: (controller, ...answer) => handler.onRequestUpgrade?.(controller, ...answer),
      onResponseStart: (controller, status, ...answer) => {
        if (status < 200 && ++announcements > MAX_ANNOUNCEMENTS) {
          return controller.abort(refused(url, status, `answers ${status} again and again, and nothing else`));
        }
        handler.onResponseStart?.(controller, status, ...answer);
      },
      onResponseData: (controller, piece) => {
        pieces++;
        bytes += piece.length;
        if (pieces > PIECES && bytes < pieces * LEAST_MEAN_BYTES) {
          return controller.abort(refused(url, 200, `sends its bytes in crumbs, ${pieces} for ${bytes} bytes`));
        }
        handler.onResponseData?.(controller, piece);
      },
      onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
      onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
    });
  };
}
