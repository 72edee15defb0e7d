/* computenetwork.dll for Wine: each call is one message to the stand-in for HNS, e2e/fakehns/server.py, which says what a
 * message looks like. It listens on 127.0.0.1 at the port in FAKEHNS_PORT.
 *
 * Like the real library this is a client of the service and keeps nothing of its own: it fails with
 * RPC_S_SERVER_UNAVAILABLE where nobody listens, with RPC_S_CALL_FAILED where a call was sent and no answer came, and
 * blocks for as long as the service takes. Signatures: Microsoft documentation, "HCN functions". */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <objbase.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __declspec(dllexport)
#define NONE 0xFFFFFFFFu

typedef void *Handle;

/* Each thread has a connection of its own, as calls of the real library do not wait for each other either. */
typedef struct {
    SOCKET socket;
    int port;
} Connection;

static DWORD slot;

static void hang_up(Connection *to) {
    if (to->socket != INVALID_SOCKET) closesocket(to->socket);
    to->socket = INVALID_SOCKET;
}

BOOL WINAPI DllMain(HINSTANCE library, DWORD reason, LPVOID reserved) {
    (void)library;
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH) return (slot = TlsAlloc()) != TLS_OUT_OF_INDEXES;
    if (reason == DLL_THREAD_DETACH) {
        Connection *mine = TlsGetValue(slot);
        if (mine != NULL) hang_up(mine);
        free(mine);
    }
    return TRUE;
}

static Connection *connection_of_thread(void) {
    Connection *mine = TlsGetValue(slot);
    if (mine == NULL && (mine = malloc(sizeof *mine)) != NULL) {
        mine->socket = INVALID_SOCKET;
        TlsSetValue(slot, mine);
    }
    return mine;
}

/* The service sends nothing unasked: what can be read before a call is the end of the connection. */
static int has_ended(const Connection *to) {
    struct timeval now = {0, 0};
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(to->socket, &readable);
    return select(0, &readable, NULL, NULL, &now) != 0;
}

static int connect_to_service(Connection *to) {
    WSADATA ignored;
    char text[16];
    int at_once = 1, port = GetEnvironmentVariableA("FAKEHNS_PORT", text, sizeof text) ? atoi(text) : 0;
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (to->socket != INVALID_SOCKET && (port != to->port || has_ended(to))) hang_up(to);
    if (to->socket != INVALID_SOCKET) return 1;
    if (port == 0 || WSAStartup(MAKEWORD(2, 2), &ignored)) return 0;
    address.sin_port = htons((u_short)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (to->socket == INVALID_SOCKET) return 0;
    to->port = port;
    setsockopt(to->socket, IPPROTO_TCP, TCP_NODELAY, (char *)&at_once, sizeof at_once);
    if (connect(to->socket, (struct sockaddr *)&address, sizeof address) == 0) return 1;
    hang_up(to);
    return 0;
}

static int send_all(SOCKET to, const char *bytes, size_t count) {
    while (count > 0) {
        int sent = send(to, bytes, (int)count, 0);
        if (sent <= 0) return 0;
        bytes += sent;
        count -= (size_t)sent;
    }
    return 1;
}

static int receive_all(SOCKET from, char *bytes, size_t count) {
    while (count > 0) {
        int received = recv(from, bytes, (int)count, 0);
        if (received <= 0) return 0;
        bytes += received;
        count -= (size_t)received;
    }
    return 1;
}

/* The caller owns the text, and frees it by CoTaskMemFree. */
static PWSTR text_for_caller(const char *utf8, int count) {
    int length = count ? MultiByteToWideChar(CP_UTF8, 0, utf8, count, NULL, 0) : 0;
    PWSTR text = CoTaskMemAlloc(((size_t)length + 1) * sizeof *text);
    if (text == NULL) return NULL;
    if (length) MultiByteToWideChar(CP_UTF8, 0, utf8, count, text, length);
    text[length] = 0;
    return text;
}

static char *message(const char *function, Handle handle, const GUID *id, PCWSTR text, uint32_t *size) {
    uint16_t named = (uint16_t)strlen(function);
    int texted = text ? WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL) - 1 : 0;
    uint64_t number = (uint64_t)(uintptr_t)handle;
    uint32_t count = 8 + 16 + 2 + named + (uint32_t)texted;
    char *bytes = calloc(1, 4 + count + 1); /* one more for the zero at the end of the text */
    if (bytes == NULL) return NULL;
    memcpy(bytes, &count, 4);
    memcpy(bytes + 4, &number, 8);
    if (id) memcpy(bytes + 12, id, 16);
    memcpy(bytes + 28, &named, 2);
    memcpy(bytes + 30, function, named);
    if (texted) WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes + 30 + named, texted + 1, NULL, NULL);
    *size = 4 + count;
    return bytes;
}

static HRESULT read_answer(SOCKET from, Handle *opened, PWSTR *properties, PWSTR *record) {
    HRESULT result = HRESULT_FROM_WIN32(RPC_S_CALL_FAILED);
    uint32_t size, count;
    uint64_t number;
    char *bytes;
    if (!receive_all(from, (char *)&size, 4) || size < 16 || (bytes = malloc(size)) == NULL) return result;
    if (receive_all(from, bytes, size)) {
        memcpy(&result, bytes, 4);
        memcpy(&number, bytes + 4, 8);
        memcpy(&count, bytes + 12, 4);
        uint32_t after = count == NONE ? 16 : 16 + count;
        if (opened) *opened = (Handle)(uintptr_t)number;
        if (properties && count != NONE) *properties = text_for_caller(bytes + 16, (int)count);
        if (record && size > after) *record = text_for_caller(bytes + after, (int)(size - after));
    }
    free(bytes);
    return result;
}

static HRESULT call(const char *function, Handle handle, const GUID *id, PCWSTR text, Handle *opened, PWSTR *properties,
                    PWSTR *record) {
    HRESULT result = HRESULT_FROM_WIN32(RPC_S_SERVER_UNAVAILABLE);
    uint32_t size = 0;
    Connection *to = connection_of_thread();
    char *bytes = message(function, handle, id, text, &size);
    if (bytes == NULL) return E_OUTOFMEMORY;
    if (properties) *properties = NULL;
    if (record) *record = NULL;
    if (to != NULL && connect_to_service(to)) {
        result = HRESULT_FROM_WIN32(RPC_S_CALL_FAILED);
        if (send_all(to->socket, bytes, size)) result = read_answer(to->socket, opened, properties, record);
        if (result == HRESULT_FROM_WIN32(RPC_S_CALL_FAILED)) hang_up(to);
    }
    free(bytes);
    return result;
}

#define READS(KIND)                                                                                                    \
    EXPORT HRESULT WINAPI HcnEnumerate##KIND##s(PCWSTR query, PWSTR *found, PWSTR *record) {                           \
        return call("HcnEnumerate" #KIND "s", NULL, NULL, query, NULL, found, record);                                 \
    }                                                                                                                  \
    EXPORT HRESULT WINAPI HcnOpen##KIND(const GUID *id, Handle *opened, PWSTR *record) {                               \
        return call("HcnOpen" #KIND, NULL, id, NULL, opened, NULL, record);                                            \
    }                                                                                                                  \
    EXPORT HRESULT WINAPI HcnQuery##KIND##Properties(Handle handle, PCWSTR query, PWSTR *properties, PWSTR *record) {  \
        return call("HcnQuery" #KIND "Properties", handle, NULL, query, NULL, properties, record);                     \
    }                                                                                                                  \
    EXPORT HRESULT WINAPI HcnClose##KIND(Handle handle) {                                                              \
        return call("HcnClose" #KIND, handle, NULL, NULL, NULL, NULL, NULL);                                           \
    }

#define WRITES(KIND)                                                                                                   \
    EXPORT HRESULT WINAPI HcnModify##KIND(Handle handle, PCWSTR request, PWSTR *record) {                              \
        return call("HcnModify" #KIND, handle, NULL, request, NULL, NULL, record);                                     \
    }                                                                                                                  \
    EXPORT HRESULT WINAPI HcnDelete##KIND(const GUID *id, PWSTR *record) {                                             \
        return call("HcnDelete" #KIND, NULL, id, NULL, NULL, NULL, record);                                            \
    }

#define CREATES(KIND)                                                                                                  \
    EXPORT HRESULT WINAPI HcnCreate##KIND(const GUID *id, PCWSTR document, Handle *opened, PWSTR *record) {            \
        return call("HcnCreate" #KIND, NULL, id, document, opened, NULL, record);                                      \
    }

READS(Network) WRITES(Network) CREATES(Network)
READS(Namespace) WRITES(Namespace) CREATES(Namespace)
READS(Endpoint) WRITES(Endpoint)

EXPORT HRESULT WINAPI HcnCreateEndpoint(Handle network, const GUID *id, PCWSTR document, Handle *opened, PWSTR *record) {
    return call("HcnCreateEndpoint", network, id, document, opened, NULL, record);
}
