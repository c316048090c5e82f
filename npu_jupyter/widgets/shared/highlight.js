/** Colours code by its words alone, in JupyterLab's editor colours. */

const WORDS = {
  python: [
    "and as assert async await break class continue def del elif else except finally for from",
    "global if import in is lambda nonlocal not or pass raise return try while with yield match",
    "case True False None",
  ],
  javascript: [
    "async await break case catch class const continue default delete do else export extends",
    "finally for from function if import in instanceof let new of return static super switch this",
    "throw try typeof var void while yield true false null undefined interface type enum",
  ],
  sql: [
    "select from where and or not in is null as join left right inner outer on group by order",
    "having limit insert into values update set delete create table drop alter with union all",
    "distinct case when then else end between like exists",
  ],
  bash: [
    "if then else elif fi for in do done while case esac function return export local echo cd",
  ],
  c: [
    "auto break case char class const continue default do double else enum extern float for fn",
    "func goto if impl import int let long match mut namespace new package private protected pub",
    "public return short signed sizeof static struct switch template this throw try typedef union",
    "unsigned use using var virtual void volatile while true false null nil",
  ],
  json: ["true false null"],
};

const ALIASES = {
  py: "python",
  python3: "python",
  ipython: "python",
  js: "javascript",
  ts: "javascript",
  typescript: "javascript",
  jsx: "javascript",
  tsx: "javascript",
  sh: "bash",
  shell: "bash",
  zsh: "bash",
  "c++": "c",
  cpp: "c",
  java: "c",
  go: "c",
  rust: "c",
  csharp: "c",
};

const STRING = `"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\\\.|[^"\\\\\\n])*"?|'(?:\\\\.|[^'\\\\\\n])*'?|\`[^\`]*\`?`;
const NUMBER = "\\b(?:0[xob])?\\d[\\d_a-f]*(?:\\.\\d+)?(?:e[+-]?\\d+)?\\b";
const OPERATOR = "[-+*/%=<>!&|^~@]+";
const COMMENTS = { python: "#[^\\n]*", bash: "#[^\\n]*", sql: "--[^\\n]*" };
const SLASHES = "//[^\\n]*|/\\*[^]*?(?:\\*/|$)";

/** Append `code` to `element` in coloured pieces; a language that is not known stays plain. */
export function highlight(element, code, language) {
  const name = ALIASES[language] ?? language;
  if (!WORDS[name]) {
    element.append(code);
    return;
  }
  const words = new Set(WORDS[name].join(" ").split(" "));
  const comment = COMMENTS[name] ?? SLASHES;
  const token = new RegExp(
    `(${comment})|(${STRING})|(${NUMBER})|([A-Za-z_$][\\w$]*)|(${OPERATOR})`,
    "g",
  );
  let plainFrom = 0;
  for (const match of code.matchAll(token)) {
    const kind = kindOf(match, words, name);
    if (!kind) continue;
    element.append(code.slice(plainFrom, match.index));
    const piece = document.createElement("span");
    piece.className = `npu-code-${kind}`;
    piece.textContent = match[0];
    element.append(piece);
    plainFrom = match.index + match[0].length;
  }
  element.append(code.slice(plainFrom));
}

function kindOf([, comment, string, number, word, operator], words, language) {
  if (comment) return "comment";
  if (string) return "string";
  if (number) return "number";
  if (operator) return "operator";
  return words.has(language === "sql" ? word.toLowerCase() : word) ? "keyword" : null;
}
