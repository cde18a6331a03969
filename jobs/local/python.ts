/** Finds a Python that environments can be made with, or says what to install. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { VisibleError } from "../visibleError";

/** Something on this machine is missing or in the way. */
export class EnvironmentError extends VisibleError {
  override readonly name = "EnvironmentError";
}

const OLDEST: Version = [3, 11];
const CANDIDATES = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

type Version = readonly [number, number];

/** What asking a program for its version and modules came to. */
interface Answer {
  readonly version: Version;
  readonly hasVenv: boolean;
}

/** The first Python on the PATH that is new enough and can make environments. Throws EnvironmentError. */
export async function findPython(candidates: readonly string[] = CANDIDATES): Promise<string> {
  const answers: { name: string; answer: Answer }[] = [];
  for (const name of candidates) {
    const answer = await ask(name);
    if (!answer) continue;
    if (isNewEnough(answer.version) && answer.hasVenv) return name;
    answers.push({ name, answer });
  }
  throw new EnvironmentError(problemOf(answers));
}

/** Such as 3.11; empty if there is no such interpreter, or it does not start. */
export async function pythonVersion(python: string): Promise<string> {
  return (await ask(python))?.version.join(".") ?? "";
}

function problemOf(answers: readonly { name: string; answer: Answer }[]): string {
  const wanted = `Python ${OLDEST.join(".")} or newer`;
  const noVenv = answers.find(({ answer }) => isNewEnough(answer.version));
  if (noVenv) {
    const version = noVenv.answer.version.join(".");
    return (
      `${noVenv.name} (${version}) cannot make virtual environments: its venv module is missing. ` +
      `On Debian and Ubuntu: sudo apt-get install python${version}-venv`
    );
  }
  const [old] = answers;
  const found = old ? `${old.name} is Python ${old.answer.version.join(".")}` : "there is no python3 on the PATH";
  return `${wanted} is needed, and ${found}. On Debian and Ubuntu: sudo apt-get install python3 python3-venv`;
}

const isNewEnough = ([major, minor]: Version): boolean =>
  major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);

// Debian ships venv without ensurepip, which venv needs, in a package of its own.
const QUESTION = `
import sys, importlib.util as u
print(*sys.version_info[:2], int(all(u.find_spec(m) for m in ("venv", "ensurepip"))))`;

async function ask(program: string): Promise<Answer | undefined> {
  try {
    const { stdout } = await promisify(execFile)(program, ["-I", "-c", QUESTION], { timeout: 20_000 });
    const [major = 0, minor = 0, venv] = stdout.trim().split(" ").map(Number);
    return { version: [major, minor], hasVenv: venv === 1 };
  } catch {
    return undefined;
  }
}
