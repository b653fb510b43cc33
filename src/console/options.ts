// What can be set about consoles.

export interface ConsoleOptions {
  /** An unfinished line (a login prompt) is written after this long. */
  readonly idleFlushMs: number;
  /** How often a console that prints is looked at. One that is silent costs an inotify watch only. */
  readonly activePollMs: number;
  /** How often a silent one is looked at all the same, in case an event was missed: of hundreds, so seldom. */
  readonly safetyPollMs: number;
  /** How often one is looked at that cannot be watched: not there yet, or the node is out of watches. */
  readonly unwatchedPollMs: number;
  /** A console that is further ahead of its log than this loses what is older. */
  readonly backlogCapBytes: number;
  /** Bytes read at once, so that one flood does not starve the others. At least twice `maxLineBytes`. */
  readonly readBytes: number;
  readonly maxLineBytes: number;
  /** Blocks of the console file are given back in batches of this many bytes. */
  readonly punchBatchBytes: number;
  /** Newest bytes of the console file that stay for attach to replay. */
  readonly replayBytes: number;
}

export const CONSOLE_DEFAULTS: ConsoleOptions = {
  idleFlushMs: 250,
  activePollMs: 40,
  safetyPollMs: 60_000,
  unwatchedPollMs: 1_000,
  backlogCapBytes: 128 << 20,
  readBytes: 512 << 10,
  maxLineBytes: 16 << 10,
  punchBatchBytes: 16 << 20,
  replayBytes: 1 << 20,
};
