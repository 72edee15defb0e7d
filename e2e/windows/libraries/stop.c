/* stop.exe NAME: asks each process of that name to end, as the container runtime does with those of a HostProcess
 * container: it starts a thread in the process that brings CTRL_SHUTDOWN_EVENT to its console handlers (hcsshim, job
 * containers; wincon.h). Prints how many it asked. */
#include <windows.h>
#include <tlhelp32.h>
#include <stdio.h>

#define SHUTDOWN ((LPVOID)6) /* CTRL_SHUTDOWN_EVENT */

static LPTHREAD_START_ROUTINE routine(void) {
    FARPROC found = GetProcAddress(GetModuleHandleA("kernelbase.dll"), "CtrlRoutine");
    if (found == NULL) found = GetProcAddress(GetModuleHandleA("kernel32.dll"), "CtrlRoutine");
    return (LPTHREAD_START_ROUTINE)(void *)found;
}

static int ask(DWORD process_id, LPTHREAD_START_ROUTINE bring) {
    HANDLE process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, process_id);
    HANDLE thread = process ? CreateRemoteThread(process, NULL, 0, bring, SHUTDOWN, 0, NULL) : NULL;
    if (thread) CloseHandle(thread);
    if (process) CloseHandle(process);
    return thread != NULL;
}

int main(int count, char **arguments) {
    PROCESSENTRY32 entry = {.dwSize = sizeof entry};
    HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    LPTHREAD_START_ROUTINE bring = routine();
    int asked = 0;
    if (count != 2 || bring == NULL || all == INVALID_HANDLE_VALUE) return 2;
    for (BOOL more = Process32First(all, &entry); more; more = Process32Next(all, &entry))
        if (lstrcmpiA(entry.szExeFile, arguments[1]) == 0) asked += ask(entry.th32ProcessID, bring);
    CloseHandle(all);
    printf("%d\n", asked);
    return asked == 0;
}
