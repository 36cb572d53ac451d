/* CUDA C++ on stdin -> PTX on stdout, by NVIDIA's libnvrtc. Usage: nvrtc LIBRARY OPTION... Build: cc -o nvrtc nvrtc.c -ldl */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static char *all_of(FILE *file) {
  size_t size = 0, room = 1 << 16;
  char *text = malloc(room);
  for (size_t got; (got = fread(text + size, 1, room - size - 1, file)) > 0;)
    if ((size += got) + 1 == room) text = realloc(text, room *= 2);
  text[size] = 0;
  return text;
}

int main(int count, char **arguments) {
  void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW) : 0;
  if (!library) return fprintf(stderr, "no libnvrtc: %s\n", dlerror()), 2;
  int (*create)(void **, const char *, const char *, int, void *, void *) = dlsym(library, "nvrtcCreateProgram");
  int (*compile)(void *, int, char **) = dlsym(library, "nvrtcCompileProgram");
  int (*size_of)(void *, size_t *) = dlsym(library, "nvrtcGetPTXSize"), (*get)(void *, char *) = dlsym(library, "nvrtcGetPTX");
  int (*log_size)(void *, size_t *) = dlsym(library, "nvrtcGetProgramLogSize"), (*log)(void *, char *) = dlsym(library, "nvrtcGetProgramLog");
  void *program;
  size_t size = 0;
  if (create(&program, all_of(stdin), "kernel.cu", 0, 0, 0)) return 2;
  const int failed = compile(program, count - 2, arguments + 2);
  (failed ? log_size : size_of)(program, &size);
  char *text = malloc(size + 1);
  (failed ? log : get)(program, text);
  fputs(text, failed ? stderr : stdout);
  return failed != 0;
}
