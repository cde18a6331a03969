/** TensorBoard for the stages of a run, inside the cluster only: it reads a local copy of the store's event files. */
import { Deployment } from "@pulumi/kubernetes/apps/v1/deployment";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import * as pulumi from "@pulumi/pulumi";
import { LOCKED, serviceAccount, UNPRIVILEGED } from "../jobs/job";
import { MADE_HERE } from "../jobs/kubernetes/api";
import { UNAWAITED, UNAWAITED_UP } from "./awaiting";
import { portForward } from "./portForward";
import type { Settings } from "./settings";

export interface TensorBoardArgs {
  readonly namespace: string;
  readonly settings: Settings;
  readonly credentials: string | undefined;
  /** URI of the run's directory in the store. */
  readonly run: string;
}

const PORT = 6006;
const NAME = "tensorboard";

export class TensorBoard extends pulumi.ComponentResource {
  /** Opens it at http://localhost:6006. */
  readonly command: string;

  constructor(name: string, args: TensorBoardArgs, opts: pulumi.ComponentResourceOptions) {
    super("retort:infra:TensorBoard", name, {}, opts);
    const { namespace, settings } = args;
    new Deployment(`${name}-deployment`, deployment(args), { parent: this });
    new Service(
      `${name}-service`,
      {
        metadata: { name: NAME, namespace, annotations: UNAWAITED },
        spec: { type: "ClusterIP", selector: labels, ports: [{ port: PORT, targetPort: "http" }] },
      },
      { parent: this },
    );
    this.command = portForward(settings.context, namespace, NAME, PORT);
    this.registerOutputs();
  }
}

const labels = { "app.kubernetes.io/name": NAME, ...MADE_HERE };

export function deployment({ namespace, settings, credentials, run }: TensorBoardArgs) {
  const { endpoint, region } = settings.storage;
  const { pullSecret, tensorboard } = settings.images;
  const env = {
    HOME: "/tmp",
    RETORT_RUN: run,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    ...(endpoint && { AWS_ENDPOINT_URL_S3: endpoint }),
  };
  return {
    // A run does not wait for its charts.
    metadata: { name: NAME, namespace, labels, annotations: UNAWAITED_UP },
    spec: {
      replicas: 1,
      strategy: { type: "Recreate" },
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: serviceAccount(NAME),
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          securityContext: UNPRIVILEGED,
          ...(pullSecret && { imagePullSecrets: [{ name: pullSecret }] }),
          containers: [
            {
              name: NAME,
              image: tensorboard,
              env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
              ...(credentials && { envFrom: [{ secretRef: { name: credentials } }] }),
              ports: [{ name: "http", containerPort: PORT }],
              readinessProbe: { httpGet: { path: "/", port: "http" }, periodSeconds: 5 },
              resources: { requests: { cpu: "100m", memory: "512Mi" }, limits: { memory: "2Gi" } },
              securityContext: LOCKED,
              volumeMounts: [
                { name: "logs", mountPath: "/logs" },
                { name: "tmp", mountPath: "/tmp" },
              ],
            },
          ],
          volumes: [
            { name: "logs", emptyDir: { sizeLimit: "4Gi" } },
            { name: "tmp", emptyDir: { sizeLimit: "1Gi" } },
          ],
        },
      },
    },
  };
}
