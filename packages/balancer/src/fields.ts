const BEYOND_ASCII = /[\x80-\xff]/

/** The first value of a field in a flat list of names and values; `name` in lower case. */
export function fieldOf (headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length === name.length && headers[i]!.toLowerCase() === name) return headers[i + 1]!
  }
  return undefined
}

/**
 * The same fields, Content-Length last where Content-Disposition has bytes beyond ASCII, as file names in UTF-8: where a length comes
 * before it, Node's `writeHead` writes them in Latin-1.
 */
export function lengthLast (headers: string[]): string[] {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length !== 19 || headers[i]!.toLowerCase() !== 'content-disposition' || !BEYOND_ASCII.test(headers[i + 1]!)) continue
    const length: string[] = []
    const others: string[] = []
    for (let k = 0; k < headers.length; k += 2) (headers[k]!.toLowerCase() === 'content-length' ? length : others).push(headers[k]!, headers[k + 1]!)
    return [...others, ...length]
  }
  return headers
}
