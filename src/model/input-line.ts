// The line that a guest prints on its console when the pod's command begins to read from it.

/** What stands behind it is the command's own, and what is typed from then on is for the command. */
export const INPUT_LINE = "vmlet: the command reads from here\n";
