// A pull under way, as anyone may look at it.

import type { PullId } from "./ids.ts";

/**
 * `asking`: the source has not answered, or another pull of the same bytes goes first; `waiting`: as many downloads as may
 * be are under way, and it is not its turn yet; `checking`: all is here.
 */
type PullPhase = "asking" | "waiting" | "receiving" | "checking";

export interface ImagePull {
  readonly pullId: PullId;
  /** `name:tag` or `name@digest` */
  readonly image: string;
  readonly phase: PullPhase;
  readonly startedAtMs: number;
  /** Over the wire, with what an earlier pull that was cut had brought. */
  readonly receivedBytes: number;
  /** Absent when the source does not say. */
  readonly totalBytes?: number;
  /** Of the last seconds. */
  readonly bytesPerSecond: number;
  /** Names of those who wait for it, one for each; nobody: it is being ended. */
  readonly waiters: readonly string[];
}

/** Who waits for a pull. */
export interface PullCaller {
  /** For people. */
  readonly name: string;
  /** Told which pull it is: one that begins now, or one that is joined. */
  readonly onJoined?: (pullId: PullId) => void;
}
