import createError, { type FastifyErrorConstructor } from '@fastify/error'

/** A certificate, key, CA bundle or revocation list cannot be used: names which one, and why. */
export const CertificateError: FastifyErrorConstructor<{ code: 'HG_TLS_CERTIFICATE' }, [string, string]> =
  createError('HG_TLS_CERTIFICATE', "certificate '%s' cannot be used: %s", 500)
/** A certificate that does not exist was named. */
export const UnknownCertificateError: FastifyErrorConstructor<{ code: 'HG_TLS_UNKNOWN_CERTIFICATE' }, [string, string]> =
  createError('HG_TLS_UNKNOWN_CERTIFICATE', "there is no certificate '%s'; there are: %s", 500)
/** The request is for a host that the certificate of its connection is not for (RFC 9110 15.5.20). */
export const MisdirectedError: FastifyErrorConstructor<{ code: 'HG_TLS_MISDIRECTED' }, [string]> =
  createError('HG_TLS_MISDIRECTED', "the certificate of this connection is not for '%s': open another one for it", 421)
/** The plain-HTTP listener that redirects cannot have its address. */
export const RedirectListenError: FastifyErrorConstructor<{ code: 'HG_TLS_REDIRECT_LISTEN' }, [string, string]> =
  createError('HG_TLS_REDIRECT_LISTEN', 'the redirect cannot listen on %s: %s', 500)
