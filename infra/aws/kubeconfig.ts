/** How to reach an EKS cluster, as a kube config. Pure. */

export interface Kubeconfig {
  readonly clusterName: string;
  readonly region: string;
  readonly endpoint: string;
  /** Certificate authority, base64. */
  readonly authority: string;
}

/** A kubeconfig, as JSON. Tokens come from `aws eks get-token`: one written down would expire in the middle of a run. */
export function kubeconfig({ clusterName, region, endpoint, authority }: Kubeconfig): string {
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1beta1",
    command: "aws",
    args: ["eks", "get-token", "--cluster-name", clusterName, "--region", region, "--output", "json"],
    interactiveMode: "Never",
  };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": clusterName,
    clusters: [{ name: clusterName, cluster: { server: endpoint, "certificate-authority-data": authority } }],
    users: [{ name: clusterName, user: { exec } }],
    contexts: [{ name: clusterName, context: { cluster: clusterName, user: clusterName } }],
  });
}
