/** The command that opens what runs inside the cluster on this machine, at the same port. */
export function portForward(context: string | undefined, namespace: string, deployment: string, port: number): string {
  const options = context === undefined ? "" : `--context ${context} `;
  return `kubectl ${options}-n ${namespace} port-forward deployment/${deployment} ${port}`;
}
