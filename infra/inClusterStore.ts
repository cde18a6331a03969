/** A small S3 server with a volume, in a namespace of its own: a store for those who have none. The volume outlives the stack. */
import { Deployment } from "@pulumi/kubernetes/apps/v1/deployment";
import { PersistentVolumeClaim } from "@pulumi/kubernetes/core/v1/persistentVolumeClaim";
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { ServiceAccount } from "@pulumi/kubernetes/core/v1/serviceAccount";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import * as pulumi from "@pulumi/pulumi";
import { LOCKED, UNPRIVILEGED } from "../jobs/job";
import { MADE_HERE } from "../jobs/kubernetes/api";
import { STORE_SERVER, type StoreServer } from "../jobs/kubernetes/storeServer";
import { engineKnows, UNAWAITED, UNAWAITED_UP } from "./awaiting";
import { namespace } from "./namespace";
import { portForward } from "./portForward";
import { type Settings, storeNamespace } from "./settings";

export interface InClusterStoreArgs {
  readonly settings: Settings;
  readonly access: StoreServer["access"];
}

const { name: NAME, port: PORT } = STORE_SERVER;
const DATA = "/data";
/** Data and results are the team's: a stack that goes leaves them, and a later one of that name finds them. */
const KEPT = { retainOnDelete: true };

export class InClusterStore extends pulumi.ComponentResource {
  /** Opens it at http://localhost:7070. */
  readonly command: string;
  private readonly deployment: Deployment;

  constructor(name: string, { settings, access }: InClusterStoreArgs, opts: pulumi.ComponentResourceOptions) {
    super("retort:infra:InClusterStore", name, {}, opts);
    const own = storeNamespace(settings.namespace);
    const home = namespace(`${name}-namespace`, own, { parent: this, ...KEPT });
    const inside = { parent: this, dependsOn: [home] };
    const metadata = { name: NAME, namespace: own };
    const volume = new PersistentVolumeClaim(`${name}-volume`, volumeClaim(settings), { ...inside, ...KEPT });
    const keys = new Secret(`${name}-keys`, { metadata, stringData: secretKeys(access) }, inside);
    new NetworkPolicy(`${name}-policy`, { metadata, spec: policy(settings.namespace) }, inside);
    const account = new ServiceAccount(`${name}-account`, { metadata, automountServiceAccountToken: false }, inside);
    this.deployment = new Deployment(`${name}-deployment`, deployment(settings), {
      parent: this,
      dependsOn: [volume, keys, account],
    });
    new Service(`${name}-service`, service(own), inside);
    this.command = portForward(settings.context, own, NAME, PORT);
    this.registerOutputs();
  }

  /** Resolves once the engine has made it: its pod may still be on its way. Never in a preview of a new stack. */
  made(): Promise<void> {
    return engineKnows(this.deployment.metadata.uid);
  }
}

const labels = { [STORE_SERVER.label]: NAME, ...MADE_HERE };

function secretKeys({ accessKeyId, secretAccessKey }: StoreServer["access"]) {
  return {
    [STORE_SERVER.accessKeyId]: accessKeyId,
    [STORE_SERVER.secretAccessKey]: pulumi.secret(secretAccessKey),
  };
}

export function volumeClaim({ namespace, storage }: Settings) {
  const { sizeGiB, storageClass } = storage.inCluster ?? {};
  return {
    metadata: { name: NAME, namespace: storeNamespace(namespace), annotations: UNAWAITED },
    spec: {
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: `${sizeGiB}Gi` } },
      ...(storageClass && { storageClassName: storageClass }),
    },
  };
}

/** Only the pods of the stack may call it, and it calls nobody. */
export function policy(namespace: string) {
  const from = [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } } }];
  return {
    podSelector: {},
    policyTypes: ["Ingress", "Egress"],
    ingress: [{ from, ports: [{ port: PORT, protocol: "TCP" }] }],
  };
}

/** Without an address of its own: its name leads to the pod, with any network. */
function service(namespace: string) {
  return {
    metadata: { name: NAME, namespace, annotations: UNAWAITED },
    spec: { clusterIP: "None", selector: labels, ports: [{ name: "s3", port: PORT, targetPort: "s3" }] },
  };
}

export function deployment({ namespace, images }: Settings) {
  return {
    metadata: { name: NAME, namespace: storeNamespace(namespace), labels, annotations: UNAWAITED_UP },
    spec: {
      replicas: 1,
      strategy: { type: "Recreate" }, // one server a volume
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: NAME,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          securityContext: UNPRIVILEGED,
          ...(images.pullSecret && { imagePullSecrets: [{ name: images.pullSecret }] }),
          containers: [
            {
              name: "store",
              image: images.store ?? "",
              args: ["--port", `:${PORT}`, "--health", "/health", "--quiet", "posix", DATA],
              envFrom: [{ secretRef: { name: NAME } }],
              ports: [{ name: "s3", containerPort: PORT }],
              readinessProbe: { httpGet: { path: "/health", port: "s3" }, periodSeconds: 2 },
              resources: { requests: { cpu: "100m", memory: "256Mi" }, limits: { memory: "2Gi" } },
              securityContext: LOCKED,
              terminationMessagePolicy: "FallbackToLogsOnError",
              volumeMounts: [{ name: "data", mountPath: DATA }],
            },
          ],
          volumes: [{ name: "data", persistentVolumeClaim: { claimName: NAME } }],
        },
      },
    },
  };
}
