import { parseDictionary } from 'structured-headers'

/** Which parts of a query do not change the response (No-Vary-Search). */
export interface QueryRule {
  /** The field's value. */
  readonly text: string
  readonly keyOrder: boolean
  /** Parameters that do not matter: all but `except`, or those of `params`. */
  readonly params: ReadonlySet<string> | 'all'
  readonly except: ReadonlySet<string>
}

function strings (value: unknown): Set<string> | undefined {
  if (!Array.isArray(value)) return undefined
  const names = new Set<string>()
  for (const [item] of value as [unknown][]) {
    if (typeof item !== 'string') return undefined
    names.add(item)
  }
  return names
}

/** `undefined` when the field is absent, invalid, or changes nothing. */
export function parseNoVarySearch (value: string | undefined): QueryRule | undefined {
  if (value === undefined) return undefined
  let dictionary: Map<string, [unknown, unknown]>
  try {
    dictionary = parseDictionary(value) as unknown as Map<string, [unknown, unknown]>
  } catch {
    return undefined
  }
  const order = dictionary.get('key-order')?.[0]
  if (order !== undefined && typeof order !== 'boolean') return undefined
  const given = dictionary.get('params')?.[0]
  const except = dictionary.has('except') ? strings(dictionary.get('except')![0]) : new Set<string>()
  const params = given === true ? 'all' as const : given === undefined || given === false ? new Set<string>() : strings(given)
  if (params === undefined || except === undefined || (except.size > 0 && params !== 'all')) return undefined
  if (order !== true && params !== 'all' && params.size === 0) return undefined
  return { text: value, keyOrder: order === true, params, except }
}

const nameOf = (pair: string): string => {
  const at = pair.indexOf('=')
  const name = (at === -1 ? pair : pair.slice(0, at)).replaceAll('+', ' ')
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

/** The query (without `?`) as far as it matters. */
export function applyRule (query: string, rule: QueryRule): string {
  const { params, except } = rule
  const kept = query.split('&').filter((pair) => {
    if (pair === '') return false
    const name = nameOf(pair)
    return params === 'all' ? except.has(name) : !params.has(name)
  })
  // A stable sort by name only: the order of one parameter's values may matter.
  if (rule.keyOrder) kept.sort((a, b) => { const x = nameOf(a); const y = nameOf(b); return x < y ? -1 : x > y ? 1 : 0 })
  return kept.join('&')
}
