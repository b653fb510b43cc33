// The streams that a client of exec or attach asks for, checked as the kubelet's own streaming server does.

import { invalid } from "../model/failure.ts";
import type { StreamsWanted } from "../ports/streaming.ts";

/** @throws SPEC_INVALID for what no client can mean. */
export function streamsWanted({ stdin, stdout, stderr, tty }: StreamsWanted): StreamsWanted {
  if (tty && stderr) throw invalid("stderr", "must be false with tty: a terminal has one output only");
  if (!stdin && !stdout && !stderr) throw invalid("stdin, stdout, stderr", "one of them must be true");
  return { stdin, stdout, stderr, tty };
}
