/** What a cluster answers to those whom it does not know, or who may not ask; or that it does not answer. */
import { VisibleError } from "../visibleError";

const UNREACHABLE = ["ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "ETIMEDOUT", "EHOSTUNREACH"];

/** Such an error as a VisibleError; any other one as it is. */
export function inWords(error: unknown): unknown {
  const { code, message } = error as { code?: unknown; message?: string };
  if (code === 401 || code === 403) {
    return new VisibleError(
      `the cluster does not let this user in (${code}): log in, or have your role added; on AWS that is retort:cluster.admins`,
      2,
    );
  }
  if (typeof code === "string" && UNREACHABLE.includes(code)) {
    return new VisibleError(
      `the cluster's API cannot be reached from here (${message}); on AWS, add this address to retort:cluster.accessCidrs`,
    );
  }
  return error;
}
