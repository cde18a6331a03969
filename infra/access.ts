/** Who may do what: the service account of each stage, the store's keys in a Secret, and what pods may talk to. */
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import { ServiceAccount } from "@pulumi/kubernetes/core/v1/serviceAccount";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import * as pulumi from "@pulumi/pulumi";
import { LABELS, serviceAccount } from "../jobs/job";
import { MADE_HERE } from "../jobs/kubernetes/api";
import { STAGES } from "../jobs/stages";
import type { Settings } from "./settings";

export interface AccessArgs {
  readonly namespace: string;
  readonly storage: Settings["storage"];
}

export class Access extends pulumi.ComponentResource {
  /** Name of the Secret with the store's keys; undefined where pods have an identity instead. */
  readonly credentials: string | undefined;

  constructor(name: string, { namespace, storage }: AccessArgs, opts: pulumi.ComponentResourceOptions) {
    super("retort:infra:Access", name, {}, opts);
    const { accessKeyId, secretAccessKey, podIdentity } = storage;
    for (const part of [...STAGES, "tensorboard"] as const) {
      new ServiceAccount(
        `${name}-${part}`,
        {
          metadata: { name: serviceAccount(part), namespace, ...(podIdentity && { annotations: podIdentity }) },
          automountServiceAccountToken: false,
        },
        { parent: this },
      );
    }
    if (accessKeyId && secretAccessKey) {
      this.credentials = "retort-store";
      const stringData = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: pulumi.secret(secretAccessKey) };
      new Secret(`${name}-store`, { metadata: { name: this.credentials, namespace }, stringData }, { parent: this });
    }
    for (const [policy, spec] of Object.entries(policies(storage.endpoint))) {
      new NetworkPolicy(
        `${name}-${policy}`,
        { metadata: { name: `retort-${policy}`, namespace }, spec },
        { parent: this },
      );
    }
    this.registerOutputs();
  }
}

const HTTPS = 443;
const DNS = 53;
/** EKS Pod Identity hands out credentials at this address. */
const POD_IDENTITY = "169.254.170.23/32";

/**
 * Nothing may call a pod of the stack but another worker of the same stage. They reach names, the store, and model hubs by
 * https. What else lies in the namespace is not the stack's business.
 */
export function policies(endpoint: string | undefined) {
  const url = endpoint === undefined ? undefined : new URL(endpoint);
  const storePort = url?.port ? Number(url.port) : url?.protocol === "http:" ? 80 : HTTPS;
  const ports = [...new Set([HTTPS, storePort])].map((port) => ({ port, protocol: "TCP" }));
  const own = { matchLabels: MADE_HERE };
  const stages = { matchExpressions: [{ key: LABELS.stage, operator: "Exists" }] };
  return {
    "deny-ingress": { podSelector: own, policyTypes: ["Ingress"] },
    "stage-workers": {
      podSelector: stages,
      policyTypes: ["Ingress"],
      ingress: [{ from: [{ podSelector: stages }] }],
    },
    egress: {
      podSelector: own,
      policyTypes: ["Egress"],
      egress: [
        // To any destination: where DNS is served on the node, no pod can be named for it.
        { ports: ["UDP", "TCP"].map((protocol) => ({ port: DNS, protocol })) },
        { ports },
        { to: [{ ipBlock: { cidr: POD_IDENTITY } }], ports: [{ port: 80, protocol: "TCP" }] },
        { to: [{ podSelector: stages }] },
      ],
    },
  };
}
