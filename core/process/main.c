/* main.c - the program: everything begins in cli.c. */
#include "process/cli.h"

int main(int argc, char **argv)
{
    return ml_cli_main(argc, argv);
}
