// The commands for people: they ask the daemon. What serves for months does without all of this.

import type { Command } from "commander";
import { addDoctor } from "./doctor.ts";
import { addImages } from "./images.ts";
import type { Io } from "./io.ts";
import { addPs } from "./ps.ts";
import { addPull } from "./pull.ts";
import { addVersion } from "./version.ts";

export function addCommands(program: Command, version: string, io: Io): void {
  addPs(program, io);
  addImages(program, io);
  addPull(program, io);
  addDoctor(program, io);
  addVersion(program, version, io);
}
