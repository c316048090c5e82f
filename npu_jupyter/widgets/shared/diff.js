/** Which words two texts share, and marks on those that they do not. */

const MOST_CELLS = 1_500_000;
const LEAST_SHARED = 0.2;

function pieces(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.parentElement.closest("button, .npu-code-head")) found.push(node);
  }
  return found;
}

function wordsOf(nodes) {
  return nodes.flatMap((node) => node.data.match(/\S+/g) ?? []);
}

/** Find the longest common run of words: two lists that say of each word whether it is shared. */
export function sharedWords(left, right) {
  const [n, m] = [left.length, right.length];
  if (n * m > MOST_CELLS) return null;
  const lengths = new Uint16Array((n + 1) * (m + 1));
  const at = (i, j) => i * (m + 1) + j;
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let j = m - 1; j >= 0; j -= 1) {
      lengths[at(i, j)] =
        left[i] === right[j]
          ? lengths[at(i + 1, j + 1)] + 1
          : Math.max(lengths[at(i + 1, j)], lengths[at(i, j + 1)]);
    }
  }
  const shared = [new Array(n).fill(false), new Array(m).fill(false)];
  for (let i = 0, j = 0; i < n && j < m;) {
    if (left[i] === right[j]) shared[0][i++] = shared[1][j++] = true;
    else if (lengths[at(i + 1, j)] >= lengths[at(i, j + 1)]) i += 1;
    else j += 1;
  }
  return shared;
}

/**
 * Mark in two elements the words that differ, and give the part of words that is shared; null
 * when the texts are too long to tell. Texts with little in common are not marked.
 */
export function markDifferences(left, right) {
  const nodes = [pieces(left), pieces(right)];
  const words = nodes.map(wordsOf);
  const shared = sharedWords(...words);
  if (!shared) return null;
  const common = shared[0].filter(Boolean).length;
  const part =
    words[0].length + words[1].length ? (2 * common) / (words[0].length + words[1].length) : 1;
  if (part < 1 && part >= LEAST_SHARED) shared.forEach((flags, side) => mark(nodes[side], flags));
  return part;
}

function mark(nodes, flags) {
  let number = 0;
  for (const node of nodes) {
    const parts = [];
    for (const piece of node.data.split(/(\s+)/)) {
      const differs = /\S/.test(piece) ? !flags[number++] : null;
      const last = parts.at(-1);
      if (last && (differs === last.differs || differs === null)) last.text += piece;
      else parts.push({ text: piece, differs });
    }
    if (parts.some((part) => part.differs)) node.replaceWith(...parts.map(marked));
  }
}

function marked({ text, differs }) {
  if (!differs) return text;
  const element = document.createElement("mark");
  element.className = "npu-differs";
  element.textContent = text.trimEnd();
  const fragment = document.createDocumentFragment();
  fragment.append(element, text.slice(text.trimEnd().length));
  return fragment;
}
