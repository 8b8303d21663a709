/** Header fields as they came: name, value, name, value … Names keep their case. */
export type Fields = readonly string[]

/** Fields that belong to one connection or hop (RFC 9110 7.6.1, RFC 9111 3.1): never stored. */
const HOP = new Set([
  'connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'te', 'trailer', 'upgrade',
  'proxy-authenticate', 'proxy-authentication-info', 'proxy-authorization'
])

/** Value of the first line of a field; names are compared in lower case. */
export function first (fields: Fields, name: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.length === name.length && fields[i]!.toLowerCase() === name) return fields[i + 1]!
  }
  return undefined
}

/** All lines of a field, joined as a list (RFC 9110 5.3). */
export function joined (fields: Fields, name: string): string | undefined {
  let value: string | undefined
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.length !== name.length || fields[i]!.toLowerCase() !== name) continue
    value = value === undefined ? fields[i + 1]! : `${value}, ${fields[i + 1]!}`
  }
  return value
}

/** The only line of a field; `undefined` without one, and `''`, which no grammar allows, when there are several. */
export function single (fields: Fields, name: string): string | undefined {
  let value: string | undefined
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.length !== name.length || fields[i]!.toLowerCase() !== name) continue
    if (value !== undefined && value !== fields[i + 1]) return ''
    value = fields[i + 1]!
  }
  return value
}

/** Without the fields named (in lower case). */
export function without (fields: Fields, names: ReadonlySet<string>): string[] {
  const kept: string[] = []
  for (let i = 0; i < fields.length; i += 2) {
    if (!names.has(fields[i]!.toLowerCase())) kept.push(fields[i]!, fields[i + 1]!)
  }
  return kept
}

/** Items of a comma-separated list, trimmed, empty ones dropped. Commas within quotes do not separate. */
export function listOf (value: string): string[] {
  const items: string[] = []
  let start = 0
  let quoted = false
  for (let i = 0; i <= value.length; i++) {
    const code = i === value.length ? 44 : value.charCodeAt(i)
    if (quoted && code === 92) i++
    else if (code === 34) quoted = !quoted
    if (i < value.length && (quoted || code !== 44)) continue
    const item = value.slice(start, i).trim()
    if (item !== '') items.push(item)
    start = i + 1
  }
  return items
}

/** What may be stored of a response's fields: no hop-by-hop ones, nothing that `Connection` names (RFC 9111 3.1). */
export function storable (fields: Fields): string[] {
  const connection = joined(fields, 'connection')
  if (connection === undefined) return without(fields, HOP)
  return without(fields, new Set([...HOP, ...listOf(connection).map((name) => name.toLowerCase())]))
}

const BEYOND_ASCII = /[\x80-\xff]/

/**
 * The same fields, Content-Length last where Content-Disposition has bytes beyond ASCII, as file names in UTF-8: where a length comes
 * before it, Node's `writeHead` writes them in Latin-1.
 */
export function lengthLast (fields: Fields): Fields {
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.length !== 19 || fields[i]!.toLowerCase() !== 'content-disposition' || !BEYOND_ASCII.test(fields[i + 1]!)) continue
    const length: string[] = []
    const others: string[] = []
    for (let k = 0; k < fields.length; k += 2) (fields[k]!.toLowerCase() === 'content-length' ? length : others).push(fields[k]!, fields[k + 1]!)
    return [...others, ...length]
  }
  return fields
}
