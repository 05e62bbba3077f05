/* keys.h - keys and tokens for tests, which may be as wrong as an attacker's. */
#ifndef ML_KIT_KEYS_H
#define ML_KIT_KEYS_H

#include <lua.h>

/* Adds to the table on top:
 *   key_pair(alg) -> { private_pem =, public_pem =, jwk = { kty =, n =, ... } }   not for HS
 *   random(n) -> n bytes
 *   base64url(bytes) -> text
 *   hmac(alg, secret, text) -> bytes                  with any secret, a public key too
 *   sign(alg, kid, kind, key, claims) -> token | nil, why      kind: "pem" or "jwk" */
void ml_keys_open(lua_State *L);

#endif
