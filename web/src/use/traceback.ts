/** A Python traceback as people read it. */

const LAST = /^([A-Za-z_][\w.]*)(?:: ([\s\S]*))?$/;
const FOREIGN = /site-packages|dist-packages|\/lib\/python\d|<frozen|\/taskyard\/|importlib/;

/** The error's type and message: of a traceback its last unindented line. */
export function headline(text: string): { type: string; message: string } {
  const lines = text.trimEnd().split("\n");
  const isTrace = lines.some((line) => line.startsWith("Traceback (") || /^\s+File "/.test(line));
  if (!isTrace) {
    const match = LAST.exec(lines[0] ?? "");
    const isError = match && /(Error|Exception|Exit|Interrupt|Warning|Timeout)$/.test(match[1] ?? "");
    if (isError) return { type: match[1] ?? "", message: match[2] ?? "" };
    return { type: "", message: lines[0] ?? "" };
  }
  const at = lines.findLastIndex((line) => LAST.test(line));
  const match = LAST.exec(lines[at] ?? "");
  return { type: match?.[1] ?? "", message: match?.[2] ?? lines.at(-1) ?? "" };
}

/** Its lines; `own` are those of frames in the application's code. */
export function ownLines(text: string): { text: string; own: boolean }[] {
  let own = true;
  return text.trimEnd().split("\n").map((line) => {
    const frame = /^\s+File "([^"]+)"/.exec(line);
    if (frame) own = !FOREIGN.test(frame[1] ?? "");
    else if (!/^\s/.test(line)) own = true;
    return { text: line, own };
  });
}
