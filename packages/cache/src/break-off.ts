import type { ServerResponse } from 'node:http'
import { type Http2ServerResponse, constants } from 'node:http2'

/**
 * Ends a transfer of which the rest will not come, so that the client sees that. Over HTTP/2 Node resets the stream of a response that is
 * only destroyed with NO_ERROR, which reads as its end; an HTTP/1.0 client without a length takes the usual FIN for it.
 */
export function breakOff (response: ServerResponse): void {
  if (response.req.httpVersionMajor >= 2) {
    const { stream } = response as unknown as Partial<Http2ServerResponse>
    if (stream?.closed === false) stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  } else if (response.req.httpVersion === '1.0') response.socket?.resetAndDestroy?.()
  response.destroy()
}
