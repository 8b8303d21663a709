import type { IncomingHttpHeaders } from 'node:http'
import zlib from 'node:zlib'
import { kindOf, type Page, page, rangeOf } from './pages.ts'

export interface Asked {
  readonly method: 'GET' | 'HEAD'
  readonly url: string
  readonly user: string
  readonly headers: Readonly<Record<string, string | undefined>>
  /** The least version that may be answered: the last that was acknowledged before this was asked. */
  readonly least: number
}

export interface Answer { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer }

const decoders: Record<string, (body: Buffer) => Buffer> = {
  gzip: zlib.gunzipSync, deflate: zlib.inflateSync, br: zlib.brotliDecompressSync, identity: (body) => body,
  ...'zstdDecompressSync' in zlib && { zstd: zlib.zstdDecompressSync as (body: Buffer) => Buffer }
}

/** Codings that this Node can decode, and so the proxy encode. */
export const codings: readonly string[] = Object.keys(decoders)

/** What of a page is sent in a coding that the origin gave it; else the page itself. */
const sent = (url: string, { body }: Page, coding: string): Buffer => kindOf(url).coded === true && coding === 'gzip' ? zlib.gzipSync(body) : body

const opaque = (etag: string | undefined): string => /"[\da-f]*/.exec(etag ?? '')?.[0] ?? ''

/** What is wrong with an answer; `undefined`: nothing. `newest`: the version that its URL has by now. */
export function wrong ({ method, url, user, headers: asked, least }: Asked, { status, headers, body }: Answer, newest: number): string | undefined {
  const version = Number(headers['x-version'])
  if (status !== 416) {
    if (!(version >= least)) return `version ${version} after ${least} was acknowledged`
    if (version > newest) return `version ${version} of ${newest}`
  }
  if (/; hit/.test(String(headers['cache-status']))) {
    if (headers['set-cookie'] !== undefined) return 'another one\'s cookie'
    if (kindOf(url).cacheControl.startsWith('private')) return 'a private page from the cache'
  }
  const right = page(url, user, version)
  if (status !== 416 && opaque(headers.etag) !== opaque(right.etag)) return `entity tag ${headers.etag} of another page`
  const coding = headers['content-encoding'] ?? 'identity'
  if (coding !== 'identity' && asked['accept-encoding']?.includes(coding) !== true) return `coding ${coding}, which was not accepted`
  switch (status) {
    case 304: return body.length === 0 && (asked['if-none-match'] ?? '').includes(opaque(right.etag)) ? undefined : '304 for what the client does not have'
    case 200: break
    case 206: {
      const whole = sent(url, right, coding)
      const range = rangeOf(asked['range'] ?? 'bytes=0-', whole.length)
      if (method === 'HEAD' || asked['range'] === undefined || range === undefined) return 'a part that was not asked for'
      if (headers['content-range'] !== `bytes ${range.first}-${range.last}/${whole.length}`) return `part ${headers['content-range']}`
      if (asked['if-range'] !== undefined && opaque(asked['if-range']) !== opaque(right.etag)) return 'a part of what the client does not have'
      return body.equals(whole.subarray(range.first, range.last + 1)) ? undefined : 'another part'
    }
    case 416: {
      const size = Number(/^bytes \*\/(\d+)$/.exec(headers['content-range'] ?? '')?.[1])
      for (let one = least; one <= newest; one++) {
        const { length } = sent(url, page(url, user, one), coding)
        if (length === size) return asked['range'] !== undefined && rangeOf(asked['range'], length) === undefined ? undefined : '416 for a part that is there'
      }
      return `416 for a page of ${size} bytes, which it never had`
    }
    default: return 'this status'
  }
  if (method === 'HEAD') {
    const length = headers['content-length']
    return body.length > 0 || (coding === 'identity' && length !== undefined && Number(length) !== right.body.length) ? `HEAD with ${length}` : undefined
  }
  let decoded
  try {
    decoded = decoders[coding]!(body)
  } catch (error) {
    return `${body.length} bytes that are not ${coding}: ${(error as Error).message}`
  }
  return decoded.equals(right.body) ? undefined : `${decoded.length} bytes that are not the ${right.body.length} of this version: ${JSON.stringify(decoded.toString('latin1', 0, 60))}`
}
