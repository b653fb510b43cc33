// What the network adapter is told; the settings of the same names are read, checked and described in config.

export interface CniOptions {
  /** Network configurations (`*.conflist`, `*.conf`, `*.json`); the first by name is used. Read again at each attach. */
  readonly configFolderPath: string;
  /** Where plugins are looked for, in this order. */
  readonly binFolderPaths: readonly string[];
  /** One record per attached pod; must survive a node reboot, so that addresses are given back. */
  readonly cacheFolderPath: string;
  /** Milliseconds that one plugin may take before it is killed. */
  readonly pluginLimitMs: number;
}
