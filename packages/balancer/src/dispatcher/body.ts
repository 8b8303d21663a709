import { Readable } from 'node:stream'
import type * as Undici from 'undici'

/** A body that is still to be read. `length`, `type`: where the body itself knows them. */
export interface StreamedBody {
  readonly stream: Readable
  readonly length: number | undefined
  readonly type: string | undefined
}

type Bytes = ArrayBuffer | ArrayBufferView
interface BlobLike { readonly size: number; readonly type: string; stream (): ReadableStream }

const isStream = (body: object): body is Readable => typeof (body as Readable).pipe === 'function' && typeof (body as Readable).on === 'function'
const isBytes = (body: object): body is Bytes => ArrayBuffer.isView(body) || body instanceof ArrayBuffer
const isBlob = (body: object): body is BlobLike => typeof (body as BlobLike).stream === 'function' && typeof (body as BlobLike).size === 'number'
const isIterable = (body: object): body is Iterable<unknown> => Symbol.asyncIterator in body || Symbol.iterator in body

/** One that gives Buffers. */
function asBytes (stream: Readable): Readable {
  if (stream.destroyed) throw new TypeError('the body is a stream that was destroyed')
  return stream.readableObjectMode || stream.readableEncoding !== null ? Readable.from(stream, { objectMode: false }) : stream
}

/** What undici takes as a body. Throws a `TypeError` for anything else. */
export function outgoingBody (body: unknown, undici: typeof Undici): null | Buffer | StreamedBody {
  if (body === undefined || body === null || body === '') return null
  if (typeof body === 'string') return Buffer.from(body)
  if (typeof body === 'object') {
    if (isStream(body)) return body.readableEnded ? null : { stream: asBytes(body), length: undefined, type: undefined }
    if (isBytes(body)) {
      if (body.byteLength === 0) return null
      return ArrayBuffer.isView(body) ? Buffer.from(body.buffer, body.byteOffset, body.byteLength) : Buffer.from(body)
    }
    const { FormData } = globalThis
    if (body instanceof FormData || body instanceof undici.FormData) {
      // Each knows its own only.
      const encoded = body instanceof FormData ? new Response(body) : new undici.Response(body as Undici.FormData)
      return { stream: Readable.from(encoded.body as AsyncIterable<Uint8Array>, { objectMode: false }), length: undefined, type: encoded.headers.get('content-type')! }
    }
    if (isBlob(body)) return { stream: Readable.fromWeb(body.stream() as never), length: body.size, type: body.type === '' ? undefined : body.type }
    if (isIterable(body)) return { stream: Readable.from(body, { objectMode: false }), length: undefined, type: undefined }
  }
  throw new TypeError('a body must be a string, bytes, a stream, an iterable, a Blob or FormData')
}
