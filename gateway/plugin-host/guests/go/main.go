// A plugin in Go, by the ABI itself: sets the field that its configuration names, `NAME VALUE`, on request and response.
package main

import (
	"strings"
	"unsafe"
)

// Required by -buildmode=c-shared. Not called.
func main() {}

const (
	bufferPluginConfiguration = 7
	mapRequestHeaders         = 0
	mapResponseHeaders        = 2
	actionContinue            = 0
	logInfo                   = 2
)

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBufferBytes(kind, start, size uint32, data, length *uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxyReplaceHeaderMapValue(kind uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, valueSize uint32) uint32

//go:wasmimport env proxy_log
func proxyLog(level uint32, message unsafe.Pointer, size uint32) uint32

// Buffers that the host asked for. They stay reachable until they are read.
var buffers = map[uint32][]byte{}

var name, value string

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_memory_allocate
func onMemoryAllocate(size uint32) unsafe.Pointer {
	buffer := make([]byte, max(size, 1))
	pointer := unsafe.Pointer(&buffer[0])
	buffers[uint32(uintptr(pointer))] = buffer
	return pointer
}

//go:wasmexport proxy_on_context_create
func onContextCreate(context, parent uint32) {}

//go:wasmexport proxy_on_vm_start
func onVMStart(context, size uint32) uint32 { return 1 }

//go:wasmexport proxy_on_configure
func onConfigure(context, size uint32) uint32 {
	var data, length uint32
	if proxyGetBufferBytes(bufferPluginConfiguration, 0, size, &data, &length) != 0 {
		return 0
	}
	words := strings.Fields(string(buffers[data][:length]))
	delete(buffers, data)
	if len(words) != 2 {
		print("expected NAME VALUE\n")
		return 0
	}
	name, value = words[0], words[1]
	log("configured " + name)
	return 1
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(context, fields, end uint32) uint32 { return set(mapRequestHeaders) }

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(context, fields, end uint32) uint32 { return set(mapResponseHeaders) }

func set(kind uint32) uint32 {
	proxyReplaceHeaderMapValue(kind, pointer(name), uint32(len(name)), pointer(value), uint32(len(value)))
	return actionContinue
}

func log(message string) {
	proxyLog(logInfo, pointer(message), uint32(len(message)))
}

func pointer(text string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(text)) }
