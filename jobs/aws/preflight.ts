/** What AWS would refuse later, looked at before anything is created: every problem at once, with how to mend it. */
import { spawnSync } from "node:child_process";
import { ConfigError } from "../../configs/load";
import type { BucketNames } from "../../infra/aws/names";
import type { AwsSettings } from "../../infra/aws/settings";
import { type AwsClients, credentialProblem } from "./clients";
import type { ByImage } from "./images";
import { buckets } from "./preflight/buckets";
import { offered, quotas, reservations } from "./preflight/capacity";
import { images, model } from "./preflight/sizes";

export interface PreflightArgs {
  readonly settings: AwsSettings;
  readonly stack: string;
  readonly clients: AwsClients;
  readonly names: BucketNames;
  /** Of images that the stack builds. */
  readonly tags: ByImage<string>;
  /** The base model, as in the config. */
  readonly base: string;
  /** Bytes of its weights; undefined if nobody could say. */
  readonly modelBytes: number | undefined;
  readonly now: Date;
}

export interface Findings {
  /** Each stops the run. */
  readonly problems: readonly string[];
  /** Each is said, and nothing more. */
  readonly warnings: readonly string[];
}

/** One look: what it finds wrong, or what it could not find out. */
type Look = (args: PreflightArgs) => Promise<Partial<Findings>>;

const LOOKS: Readonly<Record<string, Look>> = {
  credentials: lasting,
  zones: offered,
  quota: quotas,
  reservations,
  buckets,
  "the base model": model,
  images,
  "the aws command": async () => awsCommand(),
};

/** Looks at everything side by side. A look that AWS does not allow is a warning: the run itself may be allowed more. */
export async function preflight(args: PreflightArgs): Promise<Findings> {
  const found = await Promise.all(
    Object.entries(LOOKS).map(([what, look]) => look(args).catch((error: Error) => unanswered(what, error))),
  );
  return {
    problems: [...new Set(found.flatMap(({ problems = [] }) => problems))],
    warnings: [...new Set(found.flatMap(({ warnings = [] }) => warnings))],
  };
}

/** Throws ConfigError with every problem; warnings are said. */
export async function checkAccount(args: PreflightArgs, warn: (text: string) => void): Promise<void> {
  const { problems, warnings } = await preflight(args);
  for (const warning of warnings) warn(warning);
  if (problems.length > 0) throw new ConfigError(problems);
}

const REFUSED = ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"];

function unanswered(what: string, error: Error): Partial<Findings> {
  const credentials = credentialProblem(error);
  if (credentials) return { problems: [credentials] };
  if (REFUSED.includes(error.name)) return { warnings: [`${what}: not looked at, since AWS does not allow it`] };
  return { warnings: [`${what}: could not be looked at (${error.name}: ${error.message})`] };
}

/** A first `pulumi up` takes an hour and more; credentials that expire meanwhile lose what it has made. */
const NEEDED_HOURS = 2;

async function lasting({ clients, now }: PreflightArgs): Promise<Partial<Findings>> {
  const { expiration } = await clients.sts.config.credentials();
  if (!expiration) return {};
  const minutes = Math.floor((expiration.getTime() - now.getTime()) / 60_000);
  if (minutes <= 0) return { problems: ["the AWS credentials have expired: aws sso login, or renew them"] };
  if (minutes >= NEEDED_HOURS * 60) return {};
  const text = `the AWS credentials last ${minutes} more minutes: a first run takes longer, and what Pulumi made meanwhile would not be written down; renew them before`;
  return { warnings: [text] };
}

function awsCommand(): Partial<Findings> {
  const works = spawnSync("aws", ["--version"], { stdio: "ignore" }).status === 0;
  return works ? {} : { problems: ["the aws command is not here: kubectl and Pulumi log in to EKS with it"] };
}
