// npm run docs: docs/config.md from the configuration's schema.

import { writeFileSync } from "node:fs";
import { flagOf, listSettings, type Setting } from "../src/config/reference.ts";

const HEAD = `# Configuration

Made by \`npm run docs\` from \`src/config/\`; a test fails when it is stale.

vmlet reads one YAML file, \`/etc/vmlet/config.yaml\` unless \`--config\` names another. A flag beats the file, the
file beats the default. Without a file the defaults hold. A key that is not in this list is an error, and vmlet does not
start. Amounts of bytes are whole numbers or Kubernetes quantities (\`512Mi\`, \`2G\`). The settings in effect are logged
at start, without passwords.

\`\`\`yaml
logLevel: debug
libvirt:
  virtualization: emulated
machine:
  defaultMemoryBytes: 1Gi
images:
  translations:
    - name: vmlet.dev/debian
      url: https://images.example.org/debian-12.qcow2
      sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
\`\`\`

\`a[].b\` is the key \`b\` of each item of the list \`a\`; \`<name>\` stands for a name of your choice.

| setting | kind | default | what it is |
|---|---|---|---|
`;

const FLAGS = `
## Flags

Every setting that is one value has a flag with the same name in kebab-case: those under \`router\` of \`vmlet router\`, which has
\`--socket-path\` and \`--log-level\` as well, all others of \`vmlet serve\`. For instance
`;

export function renderConfigDocs(): string {
  const settings = listSettings();
  const flags = settings.filter((setting) => setting.isScalar).map((setting) => `\`${flagOf(setting)}\``);
  const examples = `${flags.slice(0, 2).join(", ")} and ${flags.find((flag) => flag.includes("libvirt"))}.`;
  return `${HEAD}${settings.map(row).join("\n")}\n${FLAGS}${examples} \`vmlet serve --help\` and \`vmlet router --help\` list them.\n`;
}

function row(setting: Setting): string {
  const path = setting.path.join(".");
  const fallback =
    setting.fallback === undefined ? "" : `\`${JSON.stringify(setting.fallback).replace(/^"|"$/g, "")}\``;
  return `| \`${path}\` | ${setting.kind.replaceAll("|", "\\|")} | ${fallback} | ${setting.doc} |`;
}

if (import.meta.main) writeFileSync(new URL("../docs/config.md", import.meta.url), renderConfigDocs());
