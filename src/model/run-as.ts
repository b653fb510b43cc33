// Where a guest has the script that runs its arguments as the user whom the pod names.

export const RUN_AS_PATH = "/etc/vmlet/run-as";
