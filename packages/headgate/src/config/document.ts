import { type Document, LineCounter, type Node, isAlias, isMap, isScalar, isSeq, parseDocument } from 'yaml'
import { UsageError } from '../usage-error.ts'
import { MissingVariableError, isReference, substitute } from './environment.ts'

/** A configuration as it was written: what it says, and where. */
export interface Source {
  /** As users name it. */
  readonly file: string
  readonly value: unknown
  /** Paths (`.routes[0].timeout`) of texts that came from the environment as a whole, and may stand for numbers. */
  readonly typed: ReadonlySet<string>
  /** `line:column` of what a path begins with, as far as it is there; `key`: of its name. `undefined`: not known. */
  locate (path: string, key: boolean): string | undefined
}

/** Line and column of an offset, from 1 on. */
function positionIn (text: string, offset: number): string {
  const before = text.slice(0, offset)
  return `${before.split('\n').length}:${offset - before.lastIndexOf('\n')}`
}

/** JSON is read more strictly than YAML would: a comment or a comma too many is a mistake there. */
function checkJson (text: string, file: string): void {
  try {
    JSON.parse(text)
  } catch (error) {
    const { message } = error as Error
    const offset = /at position (\d+)/.exec(message)?.[1] ?? (/end of JSON input/.test(message) ? String(text.length) : undefined)
    const at = offset === undefined ? '' : `${positionIn(text, Number(offset))}:`
    throw new UsageError(`${file}:${at} it is not JSON: ${message.replace(/ in JSON at position.*/s, '')}`)
  }
}

/** Parses JSON or YAML and puts the environment's values in. Throws {@link UsageError} with the position. */
export function parseText (text: string, file: string, kind: 'json' | 'yaml', environment: NodeJS.ProcessEnv): Source {
  if (kind === 'json') checkJson(text, file)
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: true })
  const [broken] = document.errors
  if (broken !== undefined) {
    const { line, col } = broken.linePos?.[0] ?? { line: 1, col: 1 }
    throw new UsageError(`${file}:${line}:${col}: ${broken.message.split(/ at line \d+/, 1)[0]!}`)
  }
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${line}:${col}`
  }
  const typed = new Set<string>()
  fill(document.contents, '', (node, path) => {
    if (!isScalar(node) || typeof node.value !== 'string' || !node.value.includes('${')) return
    if (isReference(node.value)) typed.add(path)
    try {
      node.value = substitute(node.value, environment)
    } catch (error) {
      if (!(error instanceof MissingVariableError)) throw error
      throw new UsageError(`${file}:${at(node.range![0])}: ${path.slice(1)}: ${error.message}`)
    }
  })
  return { file, value: document.toJS() as unknown, typed, locate: (path, key) => locate(document, path, key, at) }
}

/** Visits all values; names of keys are no values. */
function fill (node: unknown, path: string, visit: (node: unknown, path: string) => void): void {
  visit(node, path)
  if (isMap(node)) for (const { key, value } of node.items) fill(value, `${path}.${String(isScalar(key) ? key.value : key)}`, visit)
  else if (isSeq(node)) for (const [index, item] of node.items.entries()) fill(item, `${path}[${index}]`, visit)
}

function locate (document: Document, path: string, key: boolean, at: (offset: number) => string): string | undefined {
  let node: unknown = document.contents
  let name: Node | undefined
  let rest = path
  for (;;) {
    if (isAlias(node)) node = node.resolve(document)
    if (isMap(node) && rest.startsWith('.')) {
      // Names may hold dots and brackets: the longest that fits is meant.
      const fitting = node.items.filter(({ key }) => {
        const text = `.${String(isScalar(key) ? key.value : key)}`
        return rest.startsWith(text) && /^(?:[.[:;,\s]|$)/.test(rest.slice(text.length))
      }).sort((a, b) => String(b.key).length - String(a.key).length)[0]
      if (fitting === undefined) break
      name = fitting.key as Node
      rest = rest.slice(1 + String(isScalar(name) ? name.value : name).length)
      node = fitting.value
      if (node === null) break
      continue
    }
    // A pool may be written as the list of its upstreams alone.
    if (isSeq(node) && rest.startsWith('.upstreams')) rest = rest.slice('.upstreams'.length)
    const index = isSeq(node) ? /^\[(\d+)\]/.exec(rest) : null
    if (!isSeq(node) || index === null || node.items[Number(index[1])] === undefined) break
    node = node.items[Number(index[1])]
    name = undefined
    rest = rest.slice(index[0].length)
  }
  const found = key && name !== undefined ? name : (node as Node | null) ?? name
  const offset = found?.range?.[0]
  return offset === undefined ? undefined : at(offset)
}
