import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Http2ServerRequest, type ServerHttp2Stream, constants } from 'node:http2'
import type { RequestBody } from './request-body.ts'

/** The stream of a request that came over HTTP/2. */
function streamOf (request: IncomingMessage): ServerHttp2Stream | undefined {
  return request.httpVersionMajor >= 2 ? (request as unknown as Http2ServerRequest).stream : undefined
}

/** A request over HTTP/2 has content unless its head ended the stream; it needs no field to say so (RFC 9113 8.1.1). */
export function hasContent (request: IncomingMessage): boolean {
  const stream = streamOf(request)
  return stream !== undefined && !stream.endAfterHeaders && !request.readableEnded
}

/** An answer that is complete before the request is: the client is told that the rest is not wanted (RFC 9113 8.1). */
export function endEarly (request: IncomingMessage, response: ServerResponse, body: RequestBody | undefined): void {
  if (body === undefined || body.complete) return
  const stream = streamOf(request)
  if (stream !== undefined) response.on('finish', () => { if (!stream.closed) stream.close(constants.NGHTTP2_NO_ERROR) })
}

/** All of the answer was handed to the system. node:http2 calls a response finished that was only cut off. */
export function isAnswered ({ writableEnded, writableFinished }: ServerResponse): boolean {
  return writableEnded && writableFinished
}

/** Its connection, or its stream, has closed. */
export function isGone (response: ServerResponse): boolean {
  return response.destroyed || (response as ServerResponse & { readonly stream?: ServerHttp2Stream }).stream?.destroyed === true
}
