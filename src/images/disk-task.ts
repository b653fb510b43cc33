// What the main thread and the thread that writes a download say to each other.

/** The first bytes of a download, and what they hash to. */
export interface Checkpoint {
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

export interface WorkerStart {
  readonly path: string;
  /** Blocks on their way to disk. */
  readonly memory: SharedArrayBuffer;
}

export type DiskTask =
  /** Go on behind the last of them that is still true; what follows is cut off. */
  | { readonly do: "resume"; readonly checkpoints: readonly Checkpoint[] }
  | { readonly do: "restart" }
  | { readonly do: "write"; readonly at: number; readonly length: number }
  | { readonly do: "mark" }
  /** All is written: make it read-only and durable. */
  | { readonly do: "finish" };

export interface ReplyOf {
  /** Where the file ends now. */
  readonly resume: number;
  readonly restart: number;
  // oxlint-disable-next-line typescript/no-invalid-void-type
  readonly write: void;
  readonly mark: Checkpoint;
  readonly finish: Checkpoint;
}

/** An Error would lose its code on the way. */
export type Reply =
  | { readonly isDone: true; readonly value: ReplyOf[DiskTask["do"]] }
  | { readonly isDone: false; readonly message: string; readonly code?: string };

/** Zeros of this length and place take no room on disk. */
export const SPARSE_BYTES = 64 * 1024;
