import { UsageError } from '../usage-error.ts'

export interface Directive {
  readonly name: string
  readonly args: readonly string[]
  /** From 1 on. */
  readonly line: number
  /** What is in its braces. */
  readonly block: readonly Directive[] | undefined
}

interface Token { readonly text: string; readonly quoted: boolean; readonly line: number }

/** Words, and `{`, `}`, `;` by themselves; comments are left out. */
function tokens (text: string): Token[] {
  const list: Token[] = []
  let line = 1
  let i = 0
  while (i < text.length) {
    const character = text[i]!
    if (character === '\n') line++
    if (/\s/.test(character)) i++
    else if (character === '#') while (i < text.length && text[i] !== '\n') i++
    else if ('{};'.includes(character)) {
      list.push({ text: character, quoted: false, line })
      i++
    } else {
      const start = line
      let word = ''
      const quote = character === '"' || character === "'" ? character : ''
      if (quote !== '') i++
      for (; i < text.length; i++) {
        const next = text[i]!
        if (quote === '' ? /[\s;]/.test(next) || ((next === '{' || next === '}') && text[i - 1] !== '$') : next === quote) break
        if (next === '\n') line++
        if (next === '\\' && i + 1 < text.length && (quote !== '' || /[\s;{}"'\\]/.test(text[i + 1]!))) word += text[++i]!
        else word += next
        // `${name}`: its closing brace belongs to it.
        if (quote === '' && next === '{') while (i + 1 < text.length && word.at(-1) !== '}') word += text[++i]!
      }
      if (quote !== '') i++
      list.push({ text: word, quoted: quote !== '', line: start })
    }
  }
  return list
}

/** Parses nginx's configuration language. Throws {@link UsageError} with the line. */
export function parseNginx (text: string, file: string): Directive[] {
  const all = tokens(text)
  let at = 0
  const block = (depth: number, opened: number): Directive[] => {
    const directives: Directive[] = []
    for (;;) {
      const first = all[at]
      if (first === undefined) {
        if (depth > 0) throw new UsageError(`${file}:${opened}: this block has no end`)
        return directives
      }
      at++
      if (first.text === '}' && !first.quoted) {
        if (depth === 0) throw new UsageError(`${file}:${first.line}: there is nothing for this } to end`)
        return directives
      }
      if (!first.quoted && (first.text === ';' || first.text === '{')) throw new UsageError(`${file}:${first.line}: '${first.text}' stands where a directive should`)
      const args: string[] = []
      for (;;) {
        const next = all[at++]
        if (next === undefined || (!next.quoted && next.text === '}')) throw new UsageError(`${file}:${first.line}: '${first.text}' does not end with ;`)
        if (!next.quoted && next.text === ';') {
          directives.push({ name: first.text, args, line: first.line, block: undefined })
          break
        }
        if (!next.quoted && next.text === '{') {
          directives.push({ name: first.text, args, line: first.line, block: block(depth + 1, first.line) })
          break
        }
        args.push(next.text)
      }
    }
  }
  return block(0, 1)
}
