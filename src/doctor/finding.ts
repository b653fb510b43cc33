// What a look at the node finds.

export interface Finding {
  /** What was looked at, in a word or two. */
  readonly about: string;
  /** `error`: no machine will run. `warning`: machines run, and something is worse than it must be. */
  readonly level: "ok" | "warning" | "error";
  readonly what: string;
  /** How to mend it: a command, or a setting by its name. Absent where all is well. */
  readonly remedy?: string;
}

export const ok = (about: string, what: string): Finding => ({ about, level: "ok", what });

export const warning = (about: string, what: string, remedy: string): Finding => ({
  about,
  level: "warning",
  what,
  remedy,
});

export const error = (about: string, what: string, remedy: string): Finding => ({
  about,
  level: "error",
  what,
  remedy,
});
